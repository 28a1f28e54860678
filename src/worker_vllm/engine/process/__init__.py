"""engine.process"""
