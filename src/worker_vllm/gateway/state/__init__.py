"""gateway.state"""
