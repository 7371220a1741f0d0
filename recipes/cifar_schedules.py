"""What the field trains on CIFAR with: data that the CIFAR-10 and CIFAR-100 recipes share."""

SCHEDULE = {"epochs": 200, "batch_size": 128, "learning_rate": 0.1, "warmup_epochs": 5}

# A tenth of the training images is held out for validation, as in the ResNet paper: 45,000 are left. Most published
# figures are of networks that were trained on all 50,000.

# 200 epochs, batches of 128, a peak of 0.1 and a penalty of 5e-4 are what ResNet-18 is usually trained with on CIFAR.
RESNET = {**SCHEDULE, "backbone": "resnet", "depths": [18, 34, 50], "weight_decay": 5e-4}

# The narrow networks of the ResNet paper have its smaller penalty. It makes 64,000 updates on 45,000 images, which are
# 182 epochs; here 200, with a cosine instead of its steps.
RESNET_CIFAR = {**SCHEDULE, "backbone": "resnet_cifar", "depths": [20, 32, 44, 56], "weight_decay": 1e-4}
