"""Raster files as GDAL reads them: headers, pixels, what is valid, where they lie on Earth."""
