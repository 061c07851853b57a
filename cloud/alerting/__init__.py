"""Alerts that reach people who are not at the desk."""
