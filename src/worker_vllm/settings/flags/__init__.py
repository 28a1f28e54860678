"""settings.flags"""
