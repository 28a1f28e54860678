"""serverless.intake"""
