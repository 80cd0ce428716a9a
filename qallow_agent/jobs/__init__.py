"""The life of a job: desk, bench, dispatcher, parcels."""
