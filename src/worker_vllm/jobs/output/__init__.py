"""jobs.output"""
