"""A local web page on a finished map: tiles, polygons, answers to clicks, and the server."""
