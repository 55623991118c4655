"""Figures: for lists and statistics, and for Prometheus."""
