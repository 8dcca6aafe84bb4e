"""Maps from images of any size: plan of windows and blocks, prediction, files, assembling."""
