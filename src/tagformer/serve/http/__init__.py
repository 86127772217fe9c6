"""Requests and answers: parameters, uploads, limits, errors."""
