"""jobs.request"""
