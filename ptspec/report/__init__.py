"""What users see: screens, plain output, the HTML report, the model card."""
