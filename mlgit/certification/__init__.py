"""Certificates: data sets and thresholds that a commit passes or fails.

A certificate is a file; judging it turns predictions into checks, and checks into a result that is stored. This
package knows neither repositories nor how predictions are made, and importing it does not import torch: the metrics
are loaded when a certificate names them.
"""
