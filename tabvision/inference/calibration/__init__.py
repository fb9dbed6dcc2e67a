"""Calibration: temperature scaling, decision thresholds, conformal intervals."""
