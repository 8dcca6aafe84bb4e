"""Campaigns of faults on real processes: kills, full disks, damaged images, hostile checkpoints.

``make test-faults`` runs all trials, ``make test`` a seeded share of them. Each campaign counts its
trials, and those that were held: nothing lost, nothing silently wrong, one line where it ends.
"""
