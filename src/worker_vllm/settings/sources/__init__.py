"""settings.sources"""
