"""BiCoR-Seg: networks, losses, data sets, and all that trains and tests them."""
