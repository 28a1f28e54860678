"""jobs.run"""
