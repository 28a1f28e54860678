"""echo.routes"""
