"""torchvision's ConvNeXt-T: names, logits and a step of training."""

import golden
import networks

golden.write(__file__, [networks.case("convnext_tiny")])
