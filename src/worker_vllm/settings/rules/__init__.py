"""settings.rules"""
