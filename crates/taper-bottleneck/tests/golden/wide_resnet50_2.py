"""torchvision's Wide ResNet-50, twice as wide in the middle: names, logits and a step of training."""

import golden
import networks

golden.write(__file__, [networks.case("wide_resnet50_2")])
