"""settings.catalog"""
