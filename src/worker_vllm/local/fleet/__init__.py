"""Workers as processes of this machine: started and stopped as the scaling policy decides, frozen, thawed, killed."""
