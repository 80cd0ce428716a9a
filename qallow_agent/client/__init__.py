"""The Python client: sessions, futures, executors."""
