"""What is checked and chosen before the engine is started."""
