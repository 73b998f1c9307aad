"""torchvision's ResNet-50, version 1.5: the second convolution of a block has the stride: names, logits and a step of training."""

import golden
import networks

golden.write(__file__, [networks.case("resnet50")])
