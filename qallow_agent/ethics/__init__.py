"""Measured admission: evidence in, an integer score out, and what audits say of results."""
