import { openDouble } from "./double.ts";
import { endsSuite } from "./ends-suite.ts";
import { operatorSuite } from "./operator-suite.ts";
import { kubernetesSuite } from "./suite.ts";
import { rightsSuite } from "./rights-suite.ts";
import { warmSuite } from "./warm-suite.ts";

kubernetesSuite("the double", openDouble);
warmSuite("the double", openDouble);
endsSuite("the double", openDouble);
rightsSuite("the double", openDouble);
operatorSuite("the double", openDouble, { isReal: false });
