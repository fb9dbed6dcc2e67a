"""Calibrate predictions: temperature scaling, decision thresholds, conformal intervals."""
