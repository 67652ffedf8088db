"""Tests of the training demo."""
