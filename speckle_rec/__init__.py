"""Trackerless freehand 3D ultrasound from images alone."""
