"""Losses: pixel losses, the scatter loss, and one composite loss per method."""
