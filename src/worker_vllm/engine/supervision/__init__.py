"""engine.supervision"""
