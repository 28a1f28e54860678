"""What publication on RunPod's Hub needs: the files in `.runpod/`, and a worker that answers their tests in shape."""
