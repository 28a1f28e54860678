"""serverless.http"""
