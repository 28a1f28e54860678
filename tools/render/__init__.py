"""tools/render"""
