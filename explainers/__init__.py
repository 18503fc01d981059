"""Attribution methods: tensors in, tensors out, no files."""
