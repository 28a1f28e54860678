"""engine.diagnosis"""
