"""engine.child"""
