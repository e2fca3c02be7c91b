"""In-app messages and reminders, each with one fate."""
