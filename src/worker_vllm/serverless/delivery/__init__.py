"""serverless.delivery"""
