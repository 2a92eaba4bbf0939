"""The Celery application and its tasks."""
