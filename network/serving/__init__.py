"""Pages on finished maps, and the service that predicts images by HTTP."""
