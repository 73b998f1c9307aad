"""torchvision's VGG-11 with batch normalization: names, logits and a step of training."""

import golden
import networks

golden.write(__file__, [networks.case("vgg11_bn")])
