"""engine.preflight"""
