"""Detectors on compressed pictures: are objects still found?"""
