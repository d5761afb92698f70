import { providerConformance } from "../../conformance/provider.ts";
import { prepareDocker } from "./ground.ts";

providerConformance("docker", prepareDocker);
