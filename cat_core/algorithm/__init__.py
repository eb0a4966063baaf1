"""Token selection for any diffusion transformer: clustering, selection, schedule, forecast and cost, in torch only."""
