"""Part of rataccess."""
