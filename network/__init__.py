"""BiCoR-Seg: networks, losses, data sets and the engine that trains and tests them."""
