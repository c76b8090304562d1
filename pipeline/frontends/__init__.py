"""Front ends: waveforms to the images that encoders take."""
